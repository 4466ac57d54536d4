#!/bin/sh
# Makes a Debian package of a built gateway: `systemd/build-deb.sh [BINARY]`. Prints the path of the package.
# VERSION: the package's; default: Cargo.toml's. OUT: the folder that it goes into; default: target/debian.
set -eu
cd "$(dirname "$0")/.."

binary=${1:-target/release/ai-gateway}
version=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)}
out=${OUT:-target/debian}
architecture=$(dpkg --print-architecture)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"

put() { # mode, file, place
    install -D -m "$1" "$2" "$root$3"
}
mkdir -p "$out" "$root/DEBIAN" "$root/generated"
"$binary" generate "$root/generated"
doc=/usr/share/doc/ai-gateway

put 755 "$binary" /usr/bin/ai-gateway
put 644 systemd/ai-gateway.service /usr/lib/systemd/system/ai-gateway.service
put 644 systemd/ai-gateway.sysusers /usr/lib/sysusers.d/ai-gateway.conf
put 644 systemd/ai-gateway.tmpfiles /usr/lib/tmpfiles.d/ai-gateway.conf
put 640 conf/service.toml /etc/ai-gateway/gateway.toml
for page in "$root"/generated/*.1; do
    put 644 "$page" "/usr/share/man/man1/${page##*/}"
done
put 644 "$root/generated/ai-gateway.bash" /usr/share/bash-completion/completions/ai-gateway
put 644 "$root/generated/_ai-gateway" /usr/share/zsh/vendor-completions/_ai-gateway
put 644 "$root/generated/ai-gateway.fish" /usr/share/fish/vendor_completions.d/ai-gateway.fish
put 644 systemd/deb/copyright $doc/copyright
for page in docs/*.md; do
    put 644 "$page" "$doc/${page##*/}"
done
for example in conf/*.toml conf/schema.json conf/grafana/*.json conf/prometheus/*.yml; do
    put 644 "$example" "$doc/examples/${example#conf/}"
done
rm -r "$root/generated"
gzip -9n "$root"/usr/share/man/man1/*.1

# What the binary is linked with. dpkg-shlibdeps wants to stand beside a debian/control.
mkdir -p "$root/shlibs/debian"
touch "$root/shlibs/debian/control"
depends=$(cd "$root/shlibs" && dpkg-shlibdeps -O "$root/usr/bin/ai-gateway" 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
rm -r "$root/shlibs"
[ -n "$depends" ] || { echo "dpkg-shlibdeps found nothing that $binary depends on" >&2; exit 1; }

sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@DEPENDS@/$depends/" \
    -e "s/@SIZE@/$(du -sk "$root" | cut -f 1)/" systemd/deb/control.in >"$root/DEBIAN/control"
echo /etc/ai-gateway/gateway.toml >"$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do
    install -m 755 "systemd/deb/$script" "$root/DEBIAN/$script"
done
(cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"

package=$out/ai-gateway_${version}_$architecture.deb
dpkg-deb --root-owner-group "-Z${COMPRESSION:-xz}" --build "$root" "$package" >&2
echo "$package"
