"""The app: a page on this computer that fits photos and videos (docs/app.md).

`jobs` keeps what is asked for in a line, one at a time; `photos` and `videos` do it; `uploads` and
`guard` let in only what is meant; `server` is HTTP; `page` is what the browser shows.
"""
