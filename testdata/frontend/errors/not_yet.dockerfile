FROM alpine
ADD https://example.com/x.tar /x
ADD --checksum=sha256:00 https://example.com/y /y
RUN --mount=type=ssh git clone x
RUN --security=insecure id
RUN --device=vendor.com/class=x true
ADD git@github.com:a/b.git /src
