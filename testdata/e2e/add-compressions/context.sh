# Two archives whose names say nothing of what they are.
mkdir pack
printf 'packed\n' > pack/file
tar --create --sort=name --mtime=@0 --owner=7 --group=8 --file plain --directory pack .
bzip2 --stdout plain > b
xz --stdout plain > x
