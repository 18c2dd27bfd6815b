# Two images from one file: worker, the last stage and so the default, and sandbox, for docker-compose.yml only.

FROM golang:1.26 AS build
WORKDIR /src
ENV CGO_ENABLED=0
COPY go.mod go.sum ./
RUN go mod download
COPY activities activities
COPY internal internal
COPY sandbox sandbox
COPY starter starter
COPY worker worker
COPY workflows workflows
RUN mkdir /out && go build -trimpath -o /out/ ./worker ./starter ./sandbox/awssim && go build -trimpath -o /out/shop ./sandbox/compose

# The worker runs pg_dump, which must be at least as new as the source; psql is there for people.
FROM debian:trixie-slim AS runtime
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates postgresql-client-17 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/timeferry --shell /usr/sbin/nologin timeferry \
    && install -d -o timeferry -g timeferry -m 0700 /var/lib/timeferry
USER timeferry
WORKDIR /var/lib/timeferry

FROM runtime AS sandbox
COPY --from=build /out/awssim /out/shop /usr/local/bin/

FROM runtime AS worker
COPY --from=build /out/worker /out/starter /usr/local/bin/
# Identity and spool: keep it over restarts.
VOLUME /var/lib/timeferry
ENTRYPOINT ["worker"]
CMD ["--data-dir", "/var/lib/timeferry"]
