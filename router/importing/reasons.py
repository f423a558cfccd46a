"""Why settings are left out, where several programs have such a one. Pure."""

from typing import Final

UNKNOWN: Final = "the router doesn't know it"
ENDS: Final = "an engine ends once its requests are answered, and is killed if it doesn't"
FOUND_OUT: Final = "/v1/models tells what the router finds out of a model by itself"
LOADING: Final = "a stream that waits for a load gets comments, which clients ignore, not text of the model's"
TIMEOUTS: Final = "`limits.connect_timeout` and `limits.first_byte_timeout` are for all backends"
WHOLE_FIELDS: Final = "a route drops whole fields"
