# shellcheck shell=bash
# A small mail and chat world for `deploy/quickstart`: a throw-away certificate authority, a real Prosody, a real Dovecot and a
# real XMPP client. All are children of the script that sources this, live in one directory, and talk on loopback only.

bed_domain=example.test
# Set by make_bed and the start_* functions:
bed=        # the directory
xmpp_port=  # Prosody, STARTTLS
imap_port=  # Dovecot, STARTTLS
lmtp_port=  # Dovecot
bot_password=
alice_password=
mail_password=

# Our children: name → pid, and the names in the order of their start.
declare -A pids=()
started=()

# ---- waiting and processes ------------------------------------------------------------------------------------------------

# Waits until a command succeeds: wait_for SECONDS WHAT COMMAND…  Fails when the time is over, or as soon as a child of ours
# has ended: then waiting has no point.
wait_for() {
    local seconds=$1 what=$2 end name
    shift 2
    end=$((SECONDS + seconds))
    until "$@" 2>/dev/null; do
        for name in "${started[@]}"; do
            runs "$name" || fail "$name ended (exit code $(end_of "$name")) while this waited for: $what"
        done
        ((SECONDS < end)) || fail "waited $seconds s in vain for: $what"
        sleep 0.02
    done
}

# Starts a child with no terminal, in a session of its own: a Ctrl-C reaches this script alone, which then stops the children
# in order. start_child NAME COMMAND…; its output goes to NAME.out.
start_child() {
    local name=$1
    shift
    setsid "$@" </dev/null >>"$bed/$name.out" 2>&1 &
    pids[$name]=$!
    started+=("$name")
}

# Does the child run? A zombie is a child that ended, and a process of another parent is none of ours.
runs() {
    [[ -n ${pids[$1]-} ]] && awk -v parent=$$ '
        $1 == "State:" && $2 == "Z" { exit 1 }
        $1 == "PPid:" { ours = ($2 == parent); exit }
        END { exit !ours }
    ' "/proc/${pids[$1]}/status" 2>/dev/null
}

# The exit code of a child that ended by itself.
end_of() {
    local code=0
    wait "${pids[$1]}" 2>/dev/null || code=$?
    echo "$code"
}

# Ends a child: stop_child NAME [SECONDS]. Asks first (SIGTERM) and kills its whole session when the time is over. Returns its
# exit code.
stop_child() {
    local name=$1 end=$((SECONDS + ${2-10})) pid=${pids[$1]-} code=0
    [[ -n $pid ]] || return 0
    ! runs "$name" || kill -TERM "$pid" 2>/dev/null || true
    while runs "$name" && ((SECONDS < end)); do sleep 0.02; done
    # What it leaves behind, or all of it where it did not end.
    kill -KILL -- "-$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || code=$?
    unset "pids[$name]"
    return "$code"
}

# Ends all children, the last one first.
stop_children() {
    local i
    for ((i = ${#started[@]} - 1; i >= 0; i--)); do
        stop_child "${started[i]}" || true
    done
    started=()
}

# A port of loopback on which nothing listens. Below the range from which Linux takes ports for outgoing connections.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        accepts "$port" || break
    done
    echo "$port"
}

accepts() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# ---- directory and certificates -------------------------------------------------------------------------------------------

# Makes the directory. Unix sockets allow about 100 characters for a path: a long TMPDIR is not used.
make_bed() {
    local parent=${TMPDIR:-/tmp}
    ((${#parent} <= 40)) || parent=/tmp
    bed=$(mktemp -d "$parent/mailbell-quickstart.XXXXXX")
    # Dovecot's processes run as other users; whatever is secret in here has mode 0600.
    chmod 755 "$bed"
    bot_password=$(openssl rand -hex 12)
    alice_password=$(openssl rand -hex 12)
    mail_password=$(openssl rand -hex 12)
}

# A certificate authority that lives for a day, and a certificate for the servers.
make_certificates() {
    (
        umask 077
        cd "$bed" || exit
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -keyout ca.key -out ca.pem \
            -subj "/CN=mailbell quickstart CA" -addext keyUsage=critical,keyCertSign,cRLSign
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout server.key -out server.csr \
            -subj "/CN=$bed_domain"
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 -out server.pem -extfile <(
            echo "basicConstraints=CA:FALSE"
            echo "extendedKeyUsage=serverAuth"
            echo "subjectAltName=DNS:$bed_domain,DNS:localhost,IP:127.0.0.1"
        )
        chmod 644 ca.pem server.pem
    ) >"$bed/openssl.out" 2>&1
    rm "$bed/openssl.out"
}

# ---- Prosody --------------------------------------------------------------------------------------------------------------

start_prosody() {
    local data=$bed/prosody/example%2etest root=()
    xmpp_port=$(free_port)
    mkdir -p "$data/accounts" "$data/roster" "$bed/certs" # the last one stays empty; Prosody looks for it
    chmod 700 "$bed/prosody"
    printf 'return { ["password"] = "%s" };\n' "$bot_password" >"$data/accounts/alerts.dat"
    printf 'return { ["password"] = "%s" };\n' "$alice_password" >"$data/accounts/alice.dat"
    # The gateway and alice are on each other's list, as an administrator's shared list would have it.
    printf 'return { [false] = { ["version"] = 1 }; ["%s"] = { ["subscription"] = "both"; ["groups"] = {} } };\n' \
        "alice@$bed_domain" >"$data/roster/alerts.dat"
    printf 'return { [false] = { ["version"] = 1 }; ["%s"] = { ["subscription"] = "both"; ["groups"] = {} } };\n' \
        "alerts@$bed_domain" >"$data/roster/alice.dat"
    cat >"$bed/prosody.cfg.lua" <<CONFIG
run_as_root = $( ((EUID == 0)) && echo true || echo false)
data_path = "$bed/prosody"
interfaces = { "127.0.0.1" }
c2s_ports = { $xmpp_port }
network_settings = { nagle = false }
modules_enabled = { "roster", "saslauth", "tls", "disco", "ping", "presence", "message", "iq", "offline", "smacks", "carbons" }
modules_disabled = { "s2s" }
c2s_require_encryption = true
authentication = "internal_plain"
storage = "internal"
ssl = { certificate = "$bed/server.pem", key = "$bed/server.key" }
log = { info = "$bed/prosody.log" }
VirtualHost "$bed_domain"
CONFIG
    ((EUID != 0)) || root=(--root)
    start_child prosody prosody -F "${root[@]}" --config "$bed/prosody.cfg.lua"
    wait_for 30 "Prosody on port $xmpp_port" accepts "$xmpp_port"
}

# Has this account logged in at Prosody?
is_online() {
    grep -q "Authenticated as $1@$bed_domain" "$bed/prosody.log"
}

# ---- Dovecot --------------------------------------------------------------------------------------------------------------

start_dovecot() {
    local uid=$EUID gid users
    gid=$(id -g)
    imap_port=$(free_port)
    lmtp_port=$(free_port)
    mkdir -m 700 "$bed/mail"
    (umask 077 && echo "alerts:{PLAIN}$mail_password" >"$bed/dovecot.users")
    if ((EUID == 0)); then
        # Mail belongs to nobody, Debian's user for what nobody else owns; the rest runs as the users of the package.
        uid=65534 gid=65534
        chown "$uid:$gid" "$bed/mail"
        users=
    else
        # All of it as ourselves: no other user, and so no chroot.
        users="default_internal_user = $(id -un)
default_internal_group = $(id -gn)
default_login_user = $(id -un)
service anvil {
  chroot =
}
service stats {
  chroot =
}"
    fi
    cat >"$bed/dovecot.conf" <<CONFIG
protocols = imap lmtp
listen = 127.0.0.1
base_dir = $bed/dovecot
state_dir = $bed/dovecot-state
log_path = $bed/dovecot.log
ssl = required
ssl_cert = <$bed/server.pem
ssl_key = <$bed/server.key
passdb {
  driver = passwd-file
  args = username_format=%n $bed/dovecot.users
}
userdb {
  driver = static
  args = uid=$uid gid=$gid home=$bed/mail/%n
}
first_valid_uid = $uid
first_valid_gid = $gid
mail_location = maildir:~/Maildir
$users
service auth {
  user = $(id -un)
}
service imap-login {
  chroot =
  inet_listener imap {
    port = $imap_port
  }
  inet_listener imaps {
    port = 0
  }
}
service lmtp {
  user = $(id -un)
  inet_listener lmtp {
    port = $lmtp_port
  }
}
protocol lmtp {
  auth_username_format = %n
  postmaster_address = postmaster@$bed_domain
  ssl = no
}
CONFIG
    start_child dovecot dovecot -F -c "$bed/dovecot.conf"
    wait_for 30 "Dovecot's IMAP on port $imap_port" accepts "$imap_port"
    wait_for 30 "Dovecot's LMTP on port $lmtp_port" accepts "$lmtp_port"
}

# Delivers a mail by LMTP, as a mail server would: deliver FILE. The mail is taken once this returns.
deliver() {
    local line
    exec 4<>"/dev/tcp/127.0.0.1/$lmtp_port"
    lmtp_reply 220
    printf 'LHLO localhost\r\n' >&4
    lmtp_reply 250
    printf 'MAIL FROM:<monitor@%s>\r\n' "$bed_domain" >&4
    lmtp_reply 250
    printf 'RCPT TO:<alerts@%s>\r\n' "$bed_domain" >&4
    lmtp_reply 250
    printf 'DATA\r\n' >&4
    lmtp_reply 354
    # Lines end in CRLF, and a dot at the start of one is doubled (RFC 5321, 4.5.2).
    while IFS= read -r line || [[ -n $line ]]; do
        [[ $line != .* ]] || line=.$line
        printf '%s\r\n' "$line"
    done <"$1" >&4
    printf '.\r\n' >&4
    lmtp_reply 250
    printf 'QUIT\r\n' >&4
    lmtp_reply 221
    exec 4>&-
}

# Reads one reply, of one line or several, and checks its code.
lmtp_reply() {
    local reply
    while :; do
        IFS= read -r -t 30 -u 4 reply || fail "Dovecot's LMTP gave no answer within 30 s"
        [[ $reply == "$1"[\ -]* ]] || fail "Dovecot's LMTP said: ${reply%$'\r'}"
        [[ $reply == "$1"-* ]] || return 0
    done
}

# ---- the XMPP client ------------------------------------------------------------------------------------------------------

# Starts alice's client, go-sendxmpp: it prints what she gets. Each line goes to alice.log behind the time of its arrival.
start_alice() {
    (umask 077 && printf 'username: alice@%s\npassword: %s\njserver: 127.0.0.1:%s\n' \
        "$bed_domain" "$alice_password" "$xmpp_port" >"$bed/alice.config")
    mkfifo "$bed/alice.pipe"
    # It opens the pipe for writing as well, and so ends only when it is told to: where the client ends, the client is named.
    # shellcheck disable=SC2016  # the inner shells expand these
    start_child stamp bash -c 'while IFS= read -r line; do printf "%s %s\n" "$EPOCHREALTIME" "$line"; done <>"$0" >"$1"' \
        "$bed/alice.pipe" "$bed/alice.log"
    # The one authority that it trusts is ours.
    # shellcheck disable=SC2016
    start_child client env SSL_CERT_FILE="$bed/ca.pem" SSL_CERT_DIR=/nonexistent \
        bash -c 'exec go-sendxmpp --listen --file "$0" >"$1"' "$bed/alice.config" "$bed/alice.pipe"
    wait_for 30 "alice's client to log in" is_online alice
}

# The message that alice got with this text in it, each line behind the time of its arrival; fails where there is none.
# Messages may have several lines: one starts where the client names the sender.
message_with() {
    awk -v text="$1" '
        function flush() { if (index(message, text)) { printf "%s", message; found = 1; exit } message = "" }
        $3 == "alerts@'"$bed_domain"':" && $2 ~ /^[0-9-]+T[0-9:]+Z$/ { flush() }
        { message = message $0 "\n" }
        END { if (!found && index(message, text)) { printf "%s", message; found = 1 } exit !found }
    ' "$bed/alice.log"
}
