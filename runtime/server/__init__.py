"""HTTP: routes, the error shape on every answer, admission, streams, drain.

The way of a streamed request, and where to read on:

`connections` a socket, its head in time         `edge` id, key, what its head alone refuses, log, counts
`generation`  the endpoint: may it, body, fields `tokenizing` the prompt as tokens, templates elsewhere
`answer`      let in (`admission`), run, ended   `outlet` each token from the engine to the stream, or kept
`stream`      writes, the reader's deadline      `holding` under load several tokens in one chunk

Tokens come up by plain calls in the engine's turn of the event loop: `openai.answers` makes a delta a piece,
`Answer` counts it, `Outlet.take` passes it on, `openai.chunks` makes it bytes, `EventStream.send` writes.
"""
