FROM scratch
ADD --chown=1 --chmod=640 --exclude=*.md https://example.com/a.tar http://example.com/b local /dst/
ADD --unpack=true https://example.com/a.tar /srv/
ADD --checksum=0123456789abcdef0123456789abcdef01234567 --keep-git-dir https://example.com/app.git#v1:docs /app
ADD git@example.com:app.git?submodules=false /app
