# Checks what this machine must have before anything is built, and prints one list of what is missing with the
# commands to copy. Sourced by `start` and `test`. Installs Debian packages only after asking, with --yes, or when
# nobody is there to be asked.

node_minimum=20.19
rust_minimum=1.95

# version_at_least HAVE WANT
version_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# catena_prerequisites MODE (start|test) [--yes] [--no-mount]: returns 0 when everything is there.
catena_prerequisites() {
  mode=$1
  shift
  yes=no
  mount=yes
  for argument in "$@"; do
    case $argument in
      --yes) yes=yes ;;
      --no-mount) mount=no ;;
    esac
  done
  packages=
  missing=
  command -v cc > /dev/null || packages="$packages build-essential"
  if [ "$mode" = test ]; then
    command -v git > /dev/null || packages="$packages git"
    command -v sqlite3 > /dev/null || packages="$packages sqlite3"
    command -v mkfs.ext4 > /dev/null || packages="$packages e2fsprogs"
    command -v unshare > /dev/null || packages="$packages util-linux"
    command -v etcd > /dev/null || packages="$packages etcd-server"
    # nft is in a folder that not every user's PATH has.
    command -v nft > /dev/null || [ -x /usr/sbin/nft ] || packages="$packages nftables"
    command -v ip > /dev/null || packages="$packages iproute2"
    command -v losetup > /dev/null || packages="$packages mount"
    # root mounts without it, but one of the tests mounts as everyone else does.
    command -v fusermount3 > /dev/null || packages="$packages fuse3"
  elif [ "$(id -u)" != 0 ] && ! command -v fusermount3 > /dev/null && [ "$mount" = yes ]; then
    packages="$packages fuse3"
  fi

  if ! command -v node > /dev/null; then
    missing="$missing
  Node.js $node_minimum or later is not installed: see https://nodejs.org/en/download"
  elif ! version_at_least "$(node --version | tr -d v)" "$node_minimum"; then
    missing="$missing
  Node.js $node_minimum or later is needed, found $(node --version): see https://nodejs.org/en/download"
  fi
  if ! command -v cargo > /dev/null; then
    missing="$missing
  Rust $rust_minimum or later is not installed: see https://www.rust-lang.org/tools/install"
  elif ! version_at_least "$(cargo --version | cut -d' ' -f2)" "$rust_minimum"; then
    missing="$missing
  Rust $rust_minimum or later is needed, found $(cargo --version | cut -d' ' -f2): rustup update stable"
  fi
  if [ ! -e /dev/fuse ] && [ "$mode" = test ]; then
    missing="$missing
  /dev/fuse is missing; the tests mount real file systems: modprobe fuse, or give the container the device"
  fi
  if [ ! -e /dev/loop-control ] && [ "$mode" = test ]; then
    missing="$missing
  /dev/loop-control is missing; the tests put file systems on loop devices: modprobe loop, or give the container the device"
  fi
  if [ "$(id -u)" != 0 ] && [ "$mode" = test ]; then
    missing="$missing
  The tests mount and make namespaces: run them as root (sudo ./scripts/test)"
  fi
  free_kib=$(df -Pk . | awk 'NR == 2 { print $4 }')
  if [ "${free_kib:-0}" -lt 6291456 ]; then
    missing="$missing
  6 GiB of free disk are needed here, $((free_kib / 1024)) MiB are free: remove something, or clone to a larger disk"
  fi

  if [ -n "$packages" ]; then
    command="apt-get install -y$packages"
    [ "$(id -u)" = 0 ] || command="sudo $command"
    if [ "$yes" = no ] && [ -t 0 ] && [ -t 1 ]; then
      printf 'Debian packages are missing:%s\nRun `%s` now? [Y/n] ' "$packages" "$command"
      read -r answer
      case $answer in
        n* | N*) missing="$missing
  packages: $command" ;;
        *) install=yes ;;
      esac
    else
      install=yes
    fi
    if [ "${install:-no}" = yes ] && ! catena_install "$command"; then
      missing="$missing
  packages: $command"
    fi
  fi
  if [ -n "$missing" ]; then
    printf 'Catena needs what this machine does not have yet:%s\n' "$missing" >&2
    return 1
  fi
}

catena_install() {
  echo "installing: $1"
  update='apt-get update -qq'
  [ "$(id -u)" = 0 ] || update="sudo $update"
  $update > /dev/null 2>&1 || true
  DEBIAN_FRONTEND=noninteractive $1 > /dev/null 2>&1
}

# Installs npm packages and builds, each only if its inputs changed. One at a time in a checkout: a second one would
# take node_modules away under the first.
catena_build() {
  exec 9< ./scripts/prerequisites.sh
  if ! flock --nonblock 9; then
    echo "another ./scripts/start or ./scripts/test is building in $PWD: wait until it is done, then try again" >&2
    return 1
  fi
  catena_build_alone
  built=$?
  exec 9<&-
  return $built
}

catena_build_alone() {
  want=$(cat package-lock.json | sha256sum | cut -d' ' -f1)
  if [ "$(cat node_modules/.catena-lock 2> /dev/null)" != "$want" ]; then
    echo "· installing npm packages (about 30 s)"
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error || return 1
    echo "$want" > node_modules/.catena-lock
  fi
  echo "· building the native data plane (3-5 min the first time, seconds later)"
  node scripts/build-native.mjs || return 1
  echo "· building the TypeScript packages (a few seconds)"
  node_modules/.bin/tsc -b || return 1
}
