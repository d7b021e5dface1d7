# Links inside of a directory.
mkdir d
ln -s ../gone d/up
ln -s /abs d/abs
ln -s file d/rel
printf x > d/file
