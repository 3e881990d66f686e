#!/bin/sh
# Remove from installed libraries what the program never reads; before anything is compiled.
#
#   deploy/slim.sh SITE-PACKAGES
set -eu
cd "$1"
# The console speaks English and Russian.
find babel/locale-data -name '*.dat' ! -name root.dat ! -name 'en*.dat' ! -name 'ru*.dat' -delete
# No source code is coloured.
find pygments/lexers -name '*.py' ! -name __init__.py ! -name _mapping.py ! -name special.py ! -name python.py -delete
# The libraries' own tests, what they were compiled from, and what installed them.
find . -depth -type d -name tests -exec rm -rf {} +
find . -type f \( -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.cpp' -o -name '*.h' -o -name '*.hpp' \) -delete
rm -rf sqlalchemy/testing pip pip-* setuptools setuptools-* pkg_resources _distutils_hack distutils-precedence.pth
