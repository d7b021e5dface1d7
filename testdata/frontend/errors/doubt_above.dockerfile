ARG IMAGE=$WHERE/a
ARG
ARG TAG=1
FROM $IMAGE
RUN --mount=type=bind,target=. make
WORKDIR relative
RUN --mount=type=bind,target=./.. --mount=type=bnid,target=. make
EXPOSE $PORT
EXPOSE web
FROM alpine:$TAG AS one
COPY --from=later a b
FROM $NOTHING AS later
FROM alpine:$TAG!
COPY --from=0 a b
COPY --from=one a b
