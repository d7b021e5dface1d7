FROM alpine AS base
COPY --from=basee /a /b
COPY --from=7 /a /b
FROM $NOTHING
RUN --mount=type=cach,target=/x true
FROM Nope:latest:
FROM base
COPY --from=$STAGE /a /b
