FROM library/with-triggers AS base
ONBUILD COPY --from=tools /bin/tool /bin/
FROM busybox AS tools
RUN make tool
FROM base
RUN tool
