FROM a
COPY a <<E
E
RUN <<E && cat <<F
x
E
y
RUN never seen
