"""A broker that knows its clients by tokens, or by certificates; and who issues the tokens."""

import base64
import json
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from deploy.secure.make_secrets import Authority
from tests.brokers import KafkaBroker
from tests.processes import free_port

_ISSUER, _AUDIENCE, _KEY = "https://tokens.example", "payments", "the-key"
CLIENT, SECRET = "scorer", "of/a+test="  # as secrets look that a program made

_PROPERTIES = """
listeners=PLAINTEXT://127.0.0.1:$port,TOKEN://127.0.0.1:{token},CERT://127.0.0.1:{cert},CONTROLLER://127.0.0.1:$controller_port
advertised.listeners=PLAINTEXT://127.0.0.1:$port,TOKEN://127.0.0.1:{token},CERT://127.0.0.1:{cert}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,TOKEN:SASL_SSL,CERT:SSL,CONTROLLER:PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={directory}/kafka.keystore.pem
ssl.truststore.type=PEM
ssl.truststore.location={directory}/ca.pem
listener.name.cert.ssl.client.auth=required
sasl.enabled.mechanisms=OAUTHBEARER
listener.name.token.oauthbearer.sasl.server.callback.handler.class=\\
  org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler
listener.name.token.oauthbearer.sasl.jaas.config=\\
  org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;
sasl.oauthbearer.jwks.endpoint.url={issuer}/jwks
sasl.oauthbearer.expected.issuer={iss}
sasl.oauthbearer.expected.audience={aud}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:{client};User:CN={client}
"""


class TokenIssuer:
    """``POST /token`` gives who knows the secret a token of an hour; ``GET /jwks`` has the key to check it by."""

    def __init__(self, directory: Path) -> None:
        self._key = directory / "issuer.key"
        self._openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(self._key))
        modulus = self._openssl("rsa", "-in", str(self._key), "-noout", "-modulus").decode().strip()
        number = _base64(bytes.fromhex(modulus.removeprefix("Modulus=")))
        public = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": _KEY, "n": number, "e": "AQAB"}
        keys = json.dumps({"keys": [public]})
        self.issued: list[str] = []
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(200, keys)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                known = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
                if self.headers["Authorization"] != f"Basic {known}":
                    self._answer(401, json.dumps({"error": "invalid_client"}))
                    return
                token = issuer.token(CLIENT)
                issuer.issued.append(token)
                self._answer(200, json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": 3600}))

            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
                """Say nothing."""

            def _answer(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, name="tokens", daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def token(self, subject: str) -> str:
        """Return a token that says who is meant."""
        now = int(time.time())
        header = {"alg": "RS256", "typ": "JWT", "kid": _KEY}
        claims = {"iss": _ISSUER, "aud": _AUDIENCE, "sub": subject, "iat": now, "exp": now + 3600}
        signed = ".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
        return f"{signed}.{_base64(self._openssl('dgst', '-sha256', '-sign', str(self._key), stdin=signed.encode()))}"

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()

    def _openssl(self, *arguments: str, stdin: bytes = b"") -> bytes:
        return subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, check=True).stdout


class IdentifyingBroker(KafkaBroker):
    """A node with a listener for tokens and one for certificates; that at ``bootstrap`` asks nothing."""

    def __init__(self, directory: Path, issuer: TokenIssuer) -> None:
        self._token_port, self._cert_port = free_port(), free_port()
        self._directory = directory
        authority = Authority(directory)
        for name in ("kafka", CLIENT, "stranger"):
            key, certificate = authority.issue(name, "DNS:localhost,IP:127.0.0.1")
            (directory / f"{name}.keystore.pem").write_text(key + certificate)
        properties = _PROPERTIES.format(
            token=self._token_port,
            cert=self._cert_port,
            directory=directory,
            issuer=issuer.url,
            iss=_ISSUER,
            aud=_AUDIENCE,
            client=CLIENT,
        )
        super().__init__(directory, properties)
        self._java.insert(1, f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={issuer.url}/jwks")
        self._tokens = f"{issuer.url}/token"

    @property
    def by_token(self) -> dict[str, str]:
        """What a client that asks for tokens is set to."""
        return {
            "TENFOLD_BOOTSTRAP_SERVERS": f"127.0.0.1:{self._token_port}",
            "TENFOLD_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "TENFOLD_KAFKA__SSL_CA_LOCATION": str(self._directory / "ca.pem"),
            "TENFOLD_KAFKA__SASL_MECHANISM": "OAUTHBEARER",
            "TENFOLD_KAFKA__SASL_OAUTHBEARER_METHOD": "oidc",
            "TENFOLD_KAFKA__SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": self._tokens,
            "TENFOLD_KAFKA__SASL_OAUTHBEARER_CLIENT_ID": CLIENT,
            "TENFOLD_KAFKA__SASL_OAUTHBEARER_CLIENT_SECRET": SECRET,
        }

    def by_command(self, line: str) -> dict[str, str]:
        """What a client is set to that gets its tokens from a command."""
        own = {name: value for name, value in self.by_token.items() if "OAUTHBEARER_" not in name}
        return own | {"TENFOLD_KAFKA_TOKEN_COMMAND": line}

    @property
    def by_certificate(self) -> dict[str, str]:
        """What a client that shows a certificate is set to."""
        return self.of(CLIENT)

    def of(self, name: str) -> dict[str, str]:
        """What a client is set to that shows the certificate of that name."""
        return {
            "TENFOLD_BOOTSTRAP_SERVERS": f"127.0.0.1:{self._cert_port}",
            "TENFOLD_KAFKA__SECURITY_PROTOCOL": "SSL",
            "TENFOLD_KAFKA__SSL_CA_LOCATION": str(self._directory / "ca.pem"),
            "TENFOLD_KAFKA__SSL_CERTIFICATE_LOCATION": str(self._directory / f"{name}.pem"),
            "TENFOLD_KAFKA__SSL_KEY_LOCATION": str(self._directory / f"{name}.key"),
        }


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
