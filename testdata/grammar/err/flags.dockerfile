FROM --platfrom=x a
RUN --mout=x --network --network=none --network=host a
COPY --from --chown --link=maybe a b
COPY --archive a b
ADD --parents a b
CMD --help
ONBUILD --x RUN y
ENV --x a=b
HEALTHCHECK --retires=1 CMD x
RUN \
  --mount=type=bind,from=$x,target=/a \
  --mount='a"b' ls
