FROM a
RUN make \
    # a comment
    all \

    install
RUN ["sh", "-c", "a\tb \u00e9 \ud83d\ude00 \ud83d", ""]
RUN --network=none --security=insecure --device=vendor.com/class=name --device="*" true
RUN --mount=type=cache,target=/root/.cache,SHARING=locked --mount='type=bind,"source=a,b",from=stage,rw' \
    --mount=type=secret,id=$ID\
,required ls
RUN
RUN []
RUN -- --flag
RUN ["echo" "x"]
RUN [ "$x" = y ]
