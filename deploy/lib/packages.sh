# shellcheck shell=bash
# Debian packages: which of them are missing, and how to install them without starting anything. Sourced, never run.

# To build: a C compiler and its headers (SQLite and ring are compiled from source), and the roots to fetch crates by HTTPS.
# shellcheck disable=SC2034  # used by those who source this file
packages_build=(gcc libc6-dev ca-certificates)
# To show it working: an XMPP server, a mail server with LMTP and IMAP, an XMPP client, certificates.
# shellcheck disable=SC2034
packages_bed=(prosody dovecot-imapd dovecot-lmtpd go-sendxmpp openssl)
# What the tests ask for beyond that: more of the servers, a mail server with a queue, tools that inject faults, make networks
# and check the schema and the metrics, and time zones; the port checkers that the measurements set ours beside; who posts alerts
# over HTTP; and a browser with what drives it and checks its pages.
# shellcheck disable=SC2034
packages_tests=(
    ejabberd prosody-modules lua-event lua-sec dovecot-pop3d postfix iptables iproute2 strace libfaketime libxml2-utils tzdata
    nmap monitoring-plugins-basic prometheus-blackbox-exporter prometheus prometheus-alertmanager
    chromium chromium-driver fonts-dejavu-core python3-pip
)

# To make the Debian package: which libraries the program needs.
# shellcheck disable=SC2034
packages_deb=(dpkg-dev)

# Runs a command as root: directly, or through sudo.
as_root() {
    if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# Prints those of the packages named that are not installed.
missing_packages() {
    local package
    for package; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || printf '%s\n' "$package"
    done
}

# Installs those of the packages named that are missing. No service of theirs is running or enabled afterwards that was not
# before. Touches nothing, and asks for no password, when all are there.
install_packages() {
    local missing log
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        echo "  not a Debian system: please install the like of these yourself: $*"
        return
    fi
    mapfile -t missing < <(missing_packages "$@")
    ((${#missing[@]})) || return 0
    echo "  installing ${missing[*]}"
    if ((EUID != 0)) && ! command -v sudo >/dev/null; then
        echo "  this needs root, and there is no sudo. As root: apt-get install ${missing[*]}" >&2
        return 1
    fi
    log=$(mktemp)
    if ! install_quietly "${missing[@]}" >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        echo "  apt-get could not install: ${missing[*]}" >&2
        return 1
    fi
    rm -f "$log"
}

# A subshell: its traps take back what it changes, whichever way it ends. It is run as a condition, where bash ignores
# `set -e`: so each step says itself what its failure means.
install_quietly() (
    policy=/usr/sbin/policy-rc.d
    mark='mailbell: temporary, no service starts while packages are installed'
    placed=
    trap '[[ -z $placed ]] || as_root rm -f "$policy"' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    # Whoever has a policy keeps it. One of ours that a killed run left behind is ours to remove.
    if [[ ! -e $policy ]] || grep -qF "$mark" "$policy"; then
        placed=yes
        printf '#!/bin/sh\n# %s\nexit 101\n' "$mark" | as_root tee "$policy" || exit 1
        as_root chmod 755 "$policy" || exit 1
    fi

    before=$(installed_packages)
    # Waits for another apt (a fresh machine upgrades itself) instead of failing at once.
    apt=(as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300)
    # Old lists are better than none: without a network the install says what is wrong.
    "${apt[@]}" update || echo "apt-get update failed; going on with the lists that are there"
    # --no-remove: a package that conflicts with what somebody runs here is an error, not an exchange.
    "${apt[@]}" install --no-install-recommends --no-remove "$@" || exit 1
    comm -13 <(printf '%s\n' "$before") <(installed_packages) | disable_services
)

installed_packages() {
    dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | LC_ALL=C sort -u
}

# Reads names of packages that were just installed, and leaves none of their services enabled.
disable_services() {
    local package unit
    while read -r package; do
        if command -v systemctl >/dev/null; then
            while read -r unit; do
                systemctl -q is-enabled "$unit" 2>/dev/null || continue
                # Where a policy of this machine's own let it start, it is stopped as well.
                if [[ -d /run/systemd/system ]]; then
                    as_root systemctl -q disable --now "$unit"
                else
                    as_root systemctl -q disable "$unit"
                fi
            done < <(dpkg-query -L "$package" | sed -nE 's,^(/usr)?/lib/systemd/system/([^/@]+\.(service|socket|timer))$,\2,p')
        else
            while read -r unit; do
                as_root update-rc.d "$unit" disable
            done < <(dpkg-query -L "$package" | sed -n 's,^/etc/init\.d/,,p')
        fi
    done
}
