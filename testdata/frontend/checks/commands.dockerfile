FROM debian:13 AS shell
CMD one
CMD ["two"]
ENTRYPOINT three
HEALTHCHECK CMD four
HEALTHCHECK NONE
FROM shell
SHELL ["/bin/bash", "-c"]
CMD five
WORKDIR app
WORKDIR deeper
EXPOSE 53/UDP 127.0.0.1:8080:80 90
COPY today.log logs /
FROM debian:13
WORKDIR /app
