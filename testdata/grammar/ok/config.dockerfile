FROM a
CMD ["a", "b"]
CMD echo $HOME
CMD
ENTRYPOINT []
SHELL ["/bin/bash", "-c"]
EXPOSE 80 443/tcp $PORTS 1-2/udp
USER ${UID}:${GID}
WORKDIR /a dir/$X
VOLUME /data $V
VOLUME ["/x y", "/z"]
STOPSIGNAL SIG$S
HEALTHCHECK --interval=5m --timeout=3s --start-period=1s --start-interval=2s --retries=3 CMD curl -f "$U" || exit 1
HEALTHCHECK CMD ["true"]
healthcheck none
ONBUILD COPY --from=x a b
MAINTAINER Someone <a@b> $X
