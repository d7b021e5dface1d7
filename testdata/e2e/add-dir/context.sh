# An archive inside of a directory.
mkdir d
printf x > d/x
tar --create --mtime=@0 --owner=0 --group=0 --file d/inner.tar -C d x
