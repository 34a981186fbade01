#!/usr/bin/env bash
# Unpacks a recent CRIU, with the libraries it wants, below a directory of its own and prints the
# program's path. Nothing is installed on the machine and nothing of it is changed.
#
#   tools/criu.sh DIRECTORY
#
# Debian 12's package (3.17) does not work on recent kernels, and before 4.2 CRIU cannot write a socket
# on Linux 6.16 and newer. So the package comes from Debian's testing distribution, from the mirror that
# this machine's own apt uses.
set -euo pipefail

directory=${1:?usage: tools/criu.sh DIRECTORY}
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
program=$directory/criu

# One at a time; the others find it done.
exec 9>"$directory/lock"
flock 9
if [ -x "$program" ] && "$program" --version >/dev/null; then
    echo "$program"
    exit
fi

# shellcheck disable=SC1091
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' |
    awk -v release="$codename" '$2 == release && $3 == "main" { print $1; exit }')
if [ -z "$mirror" ]; then
    echo "tools/criu.sh: apt has no source for Debian's main packages; install CRIU 4.2 or newer" >&2
    exit 1
fi

state=$directory/apt
rm -rf "$state" "$directory/root"
mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/parts" "$directory/root"
: >"$state/status"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
options=(-q -o "Dir::Etc::SourceList=$state/sources" -o "Dir::Etc::SourceParts=$state/parts"
    -o "Dir::State::Lists=$state/lists" -o "Dir::State::Status=$state/status"
    -o "Dir::Cache=$state/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
    -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false)
for suite in testing unstable; do
    echo "deb [signed-by=$keyring] $mirror $suite main" >"$state/sources"
    # With an empty list of what is installed, everything that CRIU links against is fetched, too.
    if apt-get "${options[@]}" update >&2 &&
        apt-get "${options[@]}" -y --no-install-recommends --download-only install criu >&2; then
        break
    fi
done
for package in "$state"/cache/archives/*.deb; do
    dpkg-deb --extract "$package" "$directory/root"
done
rm -rf "$state"

# Started by the package's own dynamic linker, it takes the libraries next to it and none of the
# machine's.
linker=$(find "$directory/root" -name 'ld-linux-*.so.*' -print -quit)
libraries=$(dirname "$(find "$directory/root" -name 'libc.so.6' -print -quit)")
binary=$(find "$directory/root" -path '*/sbin/criu' -print -quit)
[ -n "$linker" ] && [ -n "$binary" ] || { echo "tools/criu.sh: no CRIU in the package" >&2; exit 1; }
cat >"$program.new" <<SCRIPT
#!/bin/sh
exec '$linker' --library-path '$libraries' '$binary' "\$@"
SCRIPT
chmod +x "$program.new"
"$program.new" --version >&2
mv "$program.new" "$program"
echo "$program"
