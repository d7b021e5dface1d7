FROM a AS made
RUN --mount=type=ssh --mount=type=ssh,id=work,target=/agent,mode=0444,uid=7,gid=8,required git fetch
ENV SSH_AUTH_SOCK=/mine
RUN --mount=type=ssh true
RUN --device=v.com/c=a,required --device=v.com/c=* --device=name=v.com/c,required=false probe
RUN --security=insecure --network=host mount
RUN --security=sandbox --network=default true
