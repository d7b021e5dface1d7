FROM debian:13
ADD https://example.com/app.git?refs=v1 /a
ADD https://example.com/app.git?ref=--upload-pack=x /a
ADD https://example.com/app.git?tag=1&branch=2 /a
ADD --keep-git-dir=false https://example.com/app.git?keep-git-dir=true /a
ADD --checksum=sha265:00 https://example.com/f /a
ADD --checksum=sha256:00 https://example.com/f /a
ADD --checksum=abc https://example.com/f https://example.com/g /a/
ADD --checksum=sha256:00 local /a
ADD --checksum=sha256:00 https://example.com/app.git /a
COPY git@example.com:app.git /a
COPY https://example.com/f /a
