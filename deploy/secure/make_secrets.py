"""Make certificates and passwords for deploy/compose.secure.yml, each role's in a volume of its own.

What is there stays. To change all of it: ``docker compose down``, remove the volumes ``secrets-…``, and start again.
"""

import json
import os
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path
from secrets import token_urlsafe

PLACE = Path("/secrets")
ROLES = ("scorer", "archiver", "profiles", "monitor", "simulator", "client")  # client: you, on the machine outside
ERASURE = "erasure"  # asks Kafka nothing
OWNERS = ("kafka", "redis", "admin", *ROLES, ERASURE)  # each of a volume

_WORK = "-@all +@read +@write +@scripting +@connection -@dangerous +info"

#: The keys of each user of Redis, %R to read only and %W to write only, and its commands.
REDIS_RIGHTS = {
    "scorer": ("~tenfold:{* %R~tenfold:profiles:*", _WORK),
    "profiles": ("~tenfold:profiles:*", _WORK),
    "monitor": ("~tenfold:{*:monitor:1*", _WORK),
    # finds keys and removes; what is in them it cannot read
    ERASURE: ("%W~tenfold:{*}:*:* %W~tenfold:profiles:*", "-@all +@connection +scan +unlink +hexists +hdel"),
}

_CA_DAYS, _DAYS = 3650, 825


def main() -> None:
    """Make everything, unless it is there."""
    done = PLACE / "admin" / "passwords.json"
    if done.exists():
        print("certificates and passwords are there")
        return
    passwords = {role: token_urlsafe(24) for role in (*ROLES, ERASURE)}
    with tempfile.TemporaryDirectory() as scratch:
        authority = Authority(Path(scratch))  # its key ends with the directory: nobody signs anything later
        for owner, names in (
            ("kafka", "DNS:kafka,DNS:localhost,IP:127.0.0.1"),
            ("redis", "DNS:redis"),
            ("admin", "DNS:admin"),
        ):
            key, certificate = authority.issue(owner, names)
            write(owner, "key.pem", key)
            write(owner, "certificate.pem", certificate)
            write(owner, "keystore.pem", key + certificate)
        for owner in OWNERS:
            write(owner, "ca.pem", authority.certificate)
    for role in (*ROLES[:-1], ERASURE):
        write(role, "tenfold.toml", settings_of(role, passwords[role], "/secrets/ca.pem"))
    outside = f'bootstrap_servers = "127.0.0.1:{os.environ["KAFKA_PORT"]}"\n\n'
    write("client", "tenfold.toml", outside + settings_of("client", passwords["client"], "ca.pem"))
    write("client", "client.properties", java_properties("client", passwords["client"]))
    write("admin", "tenfold.toml", ADMIN_SETTINGS)
    write("redis", "users.acl", redis_users(passwords))
    write("admin", "passwords.json", json.dumps(passwords))  # last: it says that the others are there
    print("certificates and passwords are made")


class Authority:
    """A certificate authority that lives as long as its directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._new_key("ca")
        self._openssl(
            *(
                "req",
                "-x509",
                "-new",
                "-key",
                "ca.key",
                "-days",
                str(_CA_DAYS),
                "-subj",
                "/CN=Tenfold",
                "-out",
                "ca.pem",
            )
        )

    @property
    def certificate(self) -> str:
        """Its own, which says whom to trust."""
        return (self._directory / "ca.pem").read_text()

    def issue(self, name: str, alternatives: str) -> tuple[str, str]:
        """Return key and certificate, as PEM, of ``CN=<name>`` at the addresses ``DNS:…,IP:…``."""
        self._new_key(name)
        subject = ("-subj", f"/CN={name}", "-addext", f"subjectAltName={alternatives}")
        self._openssl("req", "-new", "-key", f"{name}.key", *subject, "-out", f"{name}.csr")
        signer = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", str(_DAYS))
        self._openssl(
            *("x509", "-req", "-in", f"{name}.csr", *signer, "-copy_extensions", "copy", "-out", f"{name}.pem")
        )
        return (self._directory / f"{name}.key").read_text(), (self._directory / f"{name}.pem").read_text()

    def _new_key(self, name: str) -> None:
        self._openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", f"{name}.key")

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._directory, check=True, stderr=subprocess.PIPE)  # noqa: S603, S607


def write(owner: str, name: str, text: str) -> None:
    """Write a file into an owner's volume, which nobody else mounts: whoever runs there may read it."""
    file = PLACE / owner / name
    file.write_text(text)
    file.chmod(0o444)


def settings_of(role: str, password: str, authority: str) -> str:
    """Return a role's ``TENFOLD_CONFIG``."""
    kafka = f"""[kafka]
"security.protocol" = "sasl_ssl"
"ssl.ca.location" = "{authority}"
"sasl.mechanism" = "SCRAM-SHA-512"
"sasl.username" = "{role}"
"sasl.password" = "{password}"
"""
    redis = f"""[redis]
username = "{role}"
password = "{password}"
ssl_ca_certs = "{authority}"
"""
    return "\n".join([kafka] * (role in ROLES) + [redis] * (role in REDIS_RIGHTS))


#: Of the jobs that Kafka knows by their certificate.
ADMIN_SETTINGS = """[kafka]
"security.protocol" = "ssl"
"ssl.ca.location" = "/secrets/ca.pem"
"ssl.certificate.location" = "/secrets/certificate.pem"
"ssl.key.location" = "/secrets/key.pem"
"""


def java_properties(user: str, password: str) -> str:
    """Return what Kafka's own tools take as ``--command-config``."""
    login = "org.apache.kafka.common.security.scram.ScramLoginModule"
    return f"""security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-512
sasl.jaas.config={login} required username="{user}" password="{password}";
ssl.truststore.type=PEM
ssl.truststore.location=ca.pem
"""


def redis_users(passwords: dict[str, str]) -> str:
    """Return Redis' list of users: each with its keys, nobody without a name, and one that can only ping."""
    users = [
        f"user {role} on #{sha256(passwords[role].encode()).hexdigest()} resetchannels {keys} {commands}"
        for role, (keys, commands) in REDIS_RIGHTS.items()
    ]
    return "\n".join(["user default off", "user health on nopass resetchannels -@all +ping", *users]) + "\n"


if __name__ == "__main__":
    main()
