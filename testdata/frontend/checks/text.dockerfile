from debian:13 AS Base
RUN one && \

    two

FROM base as base
maintainer someone@example.com
Run three
FROM base AS context
run four
FROM scratch AS scratch
