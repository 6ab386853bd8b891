# An image with your table in it, for platforms that cannot mount a folder, such as Cloud Run and Fly.io. `table/` holds
# routes.toml and everything that it names. Secrets stay outside: the table takes them from the environment.
FROM registry.example.com/jackfield:0.1.0
COPY table/ /etc/jackfield/
# Without options, the addresses are those of the table: listen = "0.0.0.0:${PORT:-8080}"
CMD ["serve"]
