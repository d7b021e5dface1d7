# Makes the context of most cases, in the current directory. Everything that a COPY can meet: modes, links, names
# that are patterns, archives.
umask 022
mkdir -p dir/sub/deep empty src/a src/b 'odd names'
printf 'one\n' > one.txt
printf 'two\n' > two.txt
printf 'in dir\n' > dir/file
printf 'in sub\n' > dir/sub/file
printf 'deep\n' > dir/sub/deep/file
printf 'a\n' > src/a/x.c
printf 'b\n' > src/b/y.c
printf 'h\n' > src/a/x.h
printf '#!/bin/sh\necho ran\n' > script.sh
chmod 755 script.sh
printf 'secret\n' > private
chmod 600 private
printf 'suid\n' > suid
chmod 4755 suid
chmod 1777 empty
chmod 750 dir/sub
ln -s one.txt link-to-file
ln -s dir link-to-dir
ln -s /nowhere dangling
ln dir/file hard-a
ln hard-a hard-b
printf 'blank\n' > 'odd names/with blank'
printf 'star\n' > 'odd names/st[a]r'
printf 'dollar\n' > 'odd names/$HOME'
mkdir pack
printf 'packed\n' > pack/file
chmod 640 pack/file
ln -s file pack/link
tar --create --sort=name --mtime=@0 --owner=7 --group=8 --file plain.tar --directory pack .
gzip --no-name --stdout plain.tar > pack.tar.gz
cp pack.tar.gz misnamed.txt
printf 'no archive\n' > liar.tar
rm -r pack
