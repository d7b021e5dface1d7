FROM alpine AS one
COPY --from=one /a /b
