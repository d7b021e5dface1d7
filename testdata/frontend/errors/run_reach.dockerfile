FROM a
RUN --device=/dev/null one
RUN --device=v/c=a,need=1 two
RUN --mount=type=ssh,source=/x three
RUN --mount=type=ssh,from=b four
RUN --security=none five
RUN --network=hots six
