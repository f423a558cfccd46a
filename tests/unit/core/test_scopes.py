import pytest

from router.core.errors import ForbiddenError
from router.core.scopes import LOCAL, Admin, Scope


def test_a_key_may_do_what_its_scopes_say():
    """No scope holds another one."""
    ops = Admin("ops", (Scope.MANAGE,))
    ops.check(Scope.MANAGE)
    with pytest.raises(ForbiddenError, match="'ops' hasn't the scope 'read'"):
        ops.check(Scope.READ)


def test_without_keys_this_machine_may_not_write_the_file():
    """That needs a key, which is said, and not that one has no scope."""
    LOCAL.check(Scope.READ)
    LOCAL.check(Scope.MANAGE)
    with pytest.raises(ForbiddenError, match=r"set auth\.admin_keys"):
        LOCAL.check(Scope.CONFIGURE)
