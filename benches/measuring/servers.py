"""Database servers with made-up tables of a password manager, each with a folder and a socket of its own.

Invariants: a server listens on that socket and nowhere else, never runs as root, and is stopped at the end.
"""

import base64
import os
import pathlib
import random
import shutil
import subprocess
import time
import urllib.parse
import uuid

from .ground import Failure, say

NOBODY = 65534
START_SECONDS = 60
USERS = 500
PORT = 5432
MAINTENANCE = "postgres"

TABLES = """CREATE TABLE ciphers (uuid CHAR(36) NOT NULL PRIMARY KEY, created_at TIMESTAMP NULL, updated_at TIMESTAMP NULL,
    user_uuid CHAR(36), atype INTEGER NOT NULL, name TEXT NOT NULL, notes TEXT, data TEXT NOT NULL);
CREATE TABLE {night} LIKE_CIPHERS;
CREATE TABLE users (uuid CHAR(36) NOT NULL PRIMARY KEY, email VARCHAR(255) NOT NULL, revision TIMESTAMP NULL);
"""
COLUMNS = "uuid, created_at, updated_at, user_uuid, atype, name, notes, data"


class Rows:
    """Rows as a password manager has them: random keys, what is encrypted in base64, two times.

    Row `n` is the same for the same seed, whatever was drawn before.
    """

    def __init__(self, seed, count):
        self.seed, self.count = seed, count
        chance = random.Random(f"{seed} users")
        self.users = [str(uuid.UUID(int=chance.getrandbits(128))) for _ in range(USERS)]

    def line(self, number, version=0):
        """A row as both servers load it: columns between tabs, NULL as `\\N`."""
        chance = random.Random(f"{self.seed} {number} {version}")
        notes = secret(chance, chance.randint(1, 30)) if chance.random() < 0.3 else "\\N"
        fields = ", ".join(f'"{name}": "{secret(chance, chance.randint(1, 3))}"' for name in ("username", "password"))
        # Tabs, line breaks and backslashes stand in none of it.
        data = (f'{{{fields}, "totp": null, "uris": [{{"match": null, "uri": "{secret(chance, chance.randint(1, 4))}"}}],'
                f' "passwordHistory": [{{"lastUsedDate": "{moment(chance)}", "password": "{secret(chance, 2)}"}}]}}')
        first, last = moment(random.Random(f"{self.seed} {number}")), moment(chance)
        return "\t".join([self.key(number), first, last, self.users[number % USERS], "1", secret(chance, 2), notes, data]) + "\n"

    def key(self, number):
        """Random, but in the order of the numbers: as a server that sorts by key would have them anyway."""
        return str(uuid.UUID(int=(number << 128) // (2 * self.count) + random.Random(f"{self.seed} key {number}")
                             .getrandbits(64)))


def secret(chance, blocks):
    """What a client encrypted: so many blocks, the vector before and the code behind."""
    parts = (16, 16 * blocks, 32)
    return "2." + "|".join(base64.b64encode(chance.randbytes(length)).decode() for length in parts)


def moment(chance):
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(1_600_000_000 + chance.randrange(150_000_000)))


class Server:
    """What both kinds have in common."""

    database = "vault"

    def __init__(self, work):
        self.folder = work / self.kind
        self.process = None

    @classmethod
    def missing(cls):
        """The first of its programs that is not there."""
        return next((tool for tool in cls.tools if not shutil.which(tool)), None) or (None if cls.binary() else "its server")

    def __enter__(self):
        self.folder.mkdir()
        if os.geteuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)
        if len(str(self.folder / f".s.PGSQL.{PORT}")) > 100:
            raise Failure(f"{self.folder} is too long a path for a socket; name a shorter folder with --work")
        self.install()
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self.who())
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run(self.client(""), input=b"SELECT 1;", capture_output=True, check=False).returncode:
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.__exit__()
                raise Failure(f"{self.kind} does not start:\n{(self.folder / 'log').read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.terminate()
            self.process.wait()

    def who(self):
        """Whom the server runs as, and where: its own folder is all it may write to."""
        identity = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(self.folder), "TMPDIR": str(self.folder), "LC_ALL": "C"}
        return identity | {"cwd": self.folder, "env": environment}

    def run(self, command):
        done = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True, **self.who())
        if done.returncode != 0:
            raise Failure(f"{command[0]} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")

    def sql(self, text, database=None):
        done = subprocess.run(self.client(self.database if database is None else database), input=text, check=False,
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise Failure(f"{self.kind}: {text[:200]}\n{done.stderr[-2000:]}")
        return done.stdout.strip()

    def load(self, table, lines):
        """Fills a table from rows, which are never all in memory."""
        loader = subprocess.Popen(self.loading(table), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        for line in lines:
            loader.stdin.write(line.encode())
        loader.stdin.close()
        if loader.wait() != 0:
            raise Failure(f"{self.kind} does not load {table}")

    def fill(self, rows, database):
        """Makes a database with its rows; a share of them is then changed once, as in one that has been in use."""
        self.database = database
        say(f"{self.kind}: {rows.count:,} rows")
        self.sql(f"CREATE DATABASE {database};", "")
        self.sql(TABLES.format(night="night").replace("LIKE_CIPHERS", self.like))
        self.load("ciphers", (rows.line(2 * number) for number in range(rows.count)))
        self.sql("INSERT INTO users VALUES ('u', 'somebody@example.org', NULL);")

    def change(self, rows, share, version, added=0.1):
        """Changes a share of the rows, scattered, and adds a tenth as many between the others; gives their number."""
        chance = random.Random(f"{rows.seed} {version}")
        many = max(1, round(rows.count * share))
        # Even numbers are rows that are there; an odd one is a row between two of them.
        changed = sorted(2 * number for number in chance.sample(range(rows.count), many))
        new = sorted(2 * number + 1 for number in chance.sample(range(rows.count), round(many * added)))
        self.load("night", (rows.line(number, version) for number in changed + new))
        self.sql(self.merge)
        return len(changed), len(new)


class Postgres(Server):
    """A PostgreSQL server."""

    kind, title = "postgres", "PostgreSQL"
    tools = ("psql", "pg_dump")
    like = "(LIKE ciphers)"
    merge = (f"INSERT INTO ciphers ({COLUMNS}) SELECT {COLUMNS} FROM night ON CONFLICT (uuid) DO UPDATE SET"
             " updated_at = excluded.updated_at, name = excluded.name, notes = excluded.notes, data = excluded.data;"
             " TRUNCATE night; VACUUM ANALYZE ciphers; CHECKPOINT;")

    @staticmethod
    def binary():
        """The newest server's folder."""
        found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
        return found[-1].parent if found else None

    def install(self):
        self.run([self.binary() / "initdb", "--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8",
                  "--locale=C", "-D", self.folder / "data"])

    def command(self):
        return [self.binary() / "postgres", "-D", self.folder / "data", "-k", self.folder, "-p", str(PORT), "-c",
                "listen_addresses=", "-c", "fsync=off", "-c", "max_wal_size=256MB", "-c", "shared_buffers=256MB"]

    def address(self):
        return ["-h", str(self.folder), "-p", str(PORT), "-U", "postgres", "-d"]

    def client(self, database):
        return ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *self.address(), database or MAINTENANCE]

    def loading(self, table):
        return [*self.client(self.database), "-c", f"\\copy {table} ({COLUMNS}) FROM STDIN"]

    def version(self):
        return f"PostgreSQL {self.sql('SHOW server_version').split()[0]}"

    def url(self):
        return f"postgresql://postgres@{urllib.parse.quote(str(self.folder), safe='')}:{PORT}/{self.database}"

    def flag(self):
        return "--postgres"

    def dumps(self):
        """How other programs are given a dump: a name, and the command."""
        plain = ["pg_dump", *self.address(), self.database]
        return {"pg_dump -Fc": [*plain, "-Fc"], "pg_dump": plain}


class MariaDb(Server):
    """A MariaDB server."""

    kind, title = "mariadb", "MariaDB"
    tools = ("mariadb-install-db", "mariadb", "mariadb-dump")
    like = "LIKE ciphers"
    merge = (f"REPLACE INTO ciphers ({COLUMNS}) SELECT {COLUMNS} FROM night; TRUNCATE TABLE night;")

    @staticmethod
    def binary():
        places = ("/usr/sbin/mariadbd", "/usr/libexec/mariadbd", "/usr/bin/mariadbd")
        return next((place for place in places if os.access(place, os.X_OK)), None)

    def install(self):
        self.run(["mariadb-install-db", "--no-defaults", f"--datadir={self.folder / 'data'}",
                  "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"])

    def command(self):
        files = [f"--{name}={self.folder / file}" for name, file in
                 (("datadir", "data"), ("socket", "s"), ("pid-file", "pid"), ("tmpdir", "data"))]
        return [self.binary(), "--no-defaults", "--skip-networking", "--innodb-flush-log-at-trx-commit=0",
                "--innodb-buffer-pool-size=512M", "--innodb-log-file-size=256M", "--innodb-doublewrite=0",
                "--innodb-use-native-aio=0", "--character-set-server=utf8mb4", "--local-infile=1", *files]

    def client(self, database, program="mariadb"):
        return [program, "--no-defaults", f"--socket={self.folder / 's'}", "--user=root", "--default-character-set=utf8mb4",
                *(["--batch", "--skip-column-names", f"--database={database}"] if program == "mariadb" else [])]

    def loading(self, table):
        return [*self.client(self.database), "--local-infile=1", "-e",
                f"LOAD DATA LOCAL INFILE '/dev/stdin' INTO TABLE {table} ({COLUMNS})"]

    def version(self):
        return f"MariaDB {self.sql('SELECT VERSION()').split('-')[0]}"

    def url(self):
        return f"mysql://root@{urllib.parse.quote(str(self.folder / 's'), safe='')}/{self.database}"

    def flag(self):
        return "--mysql"

    def dumps(self):
        return {"mariadb-dump": [*self.client("", "mariadb-dump"), "--single-transaction", "--quick", self.database]}


def available():
    """The servers that are installed, and in words those that are not."""
    kinds, missing = [], []
    for kind in (Postgres, MariaDb):
        if tool := kind.missing():
            missing.append(f"{kind.title} is not measured: {tool} is not installed")
        else:
            kinds.append(kind)
    return kinds, missing
