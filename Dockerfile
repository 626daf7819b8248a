# syntax=docker/dockerfile:1
# Evensong in a container: built in one stage, run in another with only what speech needs.
#
#     docker build -t evensong . && docker run --rm --read-only -p 127.0.0.1:8080:8080 evensong

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# What `evensong_build_info` says of the sources: --build-arg EVENSONG_REVISION="$(git rev-parse --short HEAD)"
ARG EVENSONG_REVISION=unknown
# The caches keep crates and compiled dependencies between builds, so that only Evensong itself is built
# again. It is always built: COPY keeps the files' times, and an older file would look built already.
# The binary is taken out of the cache, which is no part of the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    touch src/main.rs src/lib.rs \
    && cargo build --release --locked \
    && cp target/release/evensong /usr/local/bin/evensong

FROM debian:bookworm-slim
# Debian's own security fixes are wanted, so no versions are pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libespeak-ng1 espeak-ng-data ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/evensong \
        --shell /usr/sbin/nologin evensong \
    && install -d -o evensong -g evensong /var/lib/evensong
COPY --from=build /usr/local/bin/evensong /usr/local/bin/evensong

# A number, so that an orchestrator can see that it is not root.
USER 10001:10001
WORKDIR /var/lib/evensong
# The platform's data folder is $XDG_DATA_HOME/evensong: the only place that is written to, and only by
# features that keep something. Everything else may be read-only.
ENV XDG_DATA_HOME=/var/lib
# Within a container, loopback is the container's own, so it must listen on every address to be reached.
# Without keys Evensong refuses that unless told that it is meant: who may reach it is decided by what is
# published (compose.yaml: this machine alone). Where keys are given (EVENSONG_KEYS_FILE) they are asked
# for all the same; then set EVENSONG_INSECURE=false, so that a lost keys file is an error and not an open
# door. The admin address stays on the container's loopback.
ENV EVENSONG_LISTEN=0.0.0.0:8080 \
    EVENSONG_INSECURE=true
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["evensong", "check", "--health"]
ENTRYPOINT ["evensong"]
