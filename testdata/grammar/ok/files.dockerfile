FROM a
COPY --from=0 --chown="$U:g" --chmod=u=rwX,go= --link --parents --exclude=*.md --exclude='a b' src/./a* b /dst/
COPY --link=false ["with space", "\u0024HOME/a", "/d"]
ADD --checksum=$SUM --keep-git-dir=true --unpack=False https://example.com/x.tar.gz /x
ADD ["a", "b" "c"]
