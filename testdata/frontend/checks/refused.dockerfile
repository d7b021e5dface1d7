FROM debian:13 as one
ENV a b
FROM debian:13 As Two$x
ENV c d
