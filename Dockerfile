# The image of `make image`, for those who have Docker: one static binary on nothing.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    host=$(rustc -vV | sed -n 's/^host: //p') && \
    env "CARGO_TARGET_$(echo "$host" | tr 'a-z-' 'A-Z_')_RUSTFLAGS=-C target-feature=+crt-static" \
      cargo build --release --locked --bin telestream --target "$host" && \
    cp "target/$host/release/telestream" /telestream && \
    echo 'nonroot:x:65532:65532:nonroot:/:/sbin/nologin' >/passwd && \
    echo 'nonroot:x:65532:' >/group && \
    echo 'hosts: files dns' >/nsswitch.conf

FROM scratch
LABEL org.opencontainers.image.title=telestream org.opencontainers.image.licenses=Apache-2.0
COPY --from=build /telestream /usr/bin/telestream
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /passwd /group /nsswitch.conf /etc/
USER 65532:65532
ENTRYPOINT ["/usr/bin/telestream"]
