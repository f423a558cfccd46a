"""Other APIs than chat completions, for engines that don't speak them. Pure: bytes in, bytes out.

Each API has one module, in both directions: a function that turns a request's body into a `Translation`, which has the
body for the engine and an `AnswerTranslator` for what comes back.

    messages    Anthropic's /v1/messages and /v1/messages/count_tokens
    responses   OpenAI's /v1/responses
    ollama      Ollama's /api/chat, generate, embed and embeddings

Between them and the engine stands `chat`, which reads chat completions and has the API's `Writer` write what they say.
`completions` has the types of that, `events` reads server-sent events, `thinking` parts reasoning from text, `speech`
says what a translation is.

A translator raises BadRequestError for a request that can't be said in chat completions, and no other error, whatever
the JSON. It raises BadGatewayError for an answer that isn't one.
"""
