"""The HTTP API and the web page. The only home of litestar."""
