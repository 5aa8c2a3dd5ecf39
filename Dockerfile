# Nexus Mesh: sidecar and Nexus in one image. Runs as a user without rights, also on a read-only root.
#   docker run --read-only -v ./policy.yaml:/etc/nexus/policy.yaml:ro IMAGE sidecar --config /etc/nexus/policy.yaml
#   docker run --read-only -v nexus-data:/var/lib/nexus -v ./nexus.yaml:/etc/nexus/nexus.yaml:ro -v ./certs:/etc/nexus/certs \
#     -e NEXUS_HEALTH_URL=http://127.0.0.1:7400/livez IMAGE serve --config /etc/nexus/nexus.yaml --listen 0.0.0.0:7400 --data /var/lib/nexus
# (nexus.yaml with `authority: { dir: ./certs }`: nothing is served beyond the container to callers that are not known)

FROM node:26-alpine AS packages
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM node:26-alpine
WORKDIR /app
COPY --from=packages /app/node_modules ./node_modules
COPY package.json LICENSE ./
COPY bin ./bin
COPY src ./src
COPY config ./config
RUN mkdir -p .runtime/compile-cache /var/lib/nexus \
	&& chown 1000:1000 .runtime/compile-cache /var/lib/nexus
# The user node of the base image, as a number: only so can Kubernetes verify runAsNonRoot.
USER 1000:1000
# Keeps the compiled sources, which halves the time of a start. As this user, whose number is part of the cache's key, and
# now, because on a read-only root nothing can be written later.
RUN node -e 'require("node:module").enableCompileCache("/app/.runtime/compile-cache"); import("/app/src/sidecar/run.ts"); import("/app/src/nexus/run.ts")'
ENV NEXUS_HEALTH_URL=http://127.0.0.1:15000/livez
EXPOSE 7400 15000 15001 15006
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
	CMD ["node", "-e", "fetch(process.env.NEXUS_HEALTH_URL).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
STOPSIGNAL SIGTERM
# Without npm or a shell in between: signals reach the program, its exit code is the container's.
ENTRYPOINT ["node", "/app/bin/nexus"]
CMD ["--help"]
