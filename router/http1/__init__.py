"""HTTP/1.1's grammar: bytes to heads and bodies, and back (RFC 9112). No I/O and no policy.

    heads       what all heads share: header lines, the split at Content-Length, the headers of one connection alone
    requests    the head of a request
    responses   the head of a response, with the framing of its body
    bodies      the framings, and a reader for each

A head is distrusted, whoever sent it. Its size is bounded, its lines end with CRLF and nothing else, no line is folded,
a colon follows each name at once, and the length of the body may be given in one way only. Anything else is refused
rather than guessed, because the next parser might guess differently.

Which requests are served, which headers are passed on, and which responses count as errors is not decided here:
`router.proxy.heads` does that.
"""
