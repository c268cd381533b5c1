# workerd's configuration for a self-hosted Worker. `npm run selfhost` copies it together with the files that it embeds.
# The command line says where workerd listens and where it stores objects:
# workerd serve headwater.capnp --socket-addr=http=ADDRESS --directory-path=objects=FOLDER
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "worker", worker = .worker),
    (name = "edge-cache", worker = .edgeCache),
    (name = "assets", worker = .assets),
    (name = "objects", disk = (writable = true)),
    (name = "internet", network = (allow = ["public", "private"], tlsOptions = (trustBrowserCas = true))),
  ],
  sockets = [ (name = "http", http = (), service = "worker") ],
);

const worker :Workerd.Worker = (
  modules = [
    (name = "index.js", esModule = embed "index.js"),
    (name = "./index_bg.wasm", wasm = embed "index_bg.wasm"),
  ],
  compatibilityDate = "2026-10-01",
  compatibilityFlags = ["no_web_socket_compression"],
  bindings = [
    (name = "SEQUENCER", durableObjectNamespace = "Sequencer"),
    (name = "ASSETS", service = "assets"),
    # Every setting of docs/configuration.md. A variable that is not in the environment becomes null.
    (name = "UPSTREAM_URL", fromEnvironment = "UPSTREAM_URL"),
    (name = "UPSTREAM_TOKEN", fromEnvironment = "UPSTREAM_TOKEN"),
    (name = "UPSTREAM_TIMEOUT_MS", fromEnvironment = "UPSTREAM_TIMEOUT_MS"),
    (name = "MAX_LOG_BYTES", fromEnvironment = "MAX_LOG_BYTES"),
    (name = "AUTH_MODE", fromEnvironment = "AUTH_MODE"),
    (name = "ALLOW_INSECURE", fromEnvironment = "ALLOW_INSECURE"),
    (name = "ALLOWED_ORIGINS", fromEnvironment = "ALLOWED_ORIGINS"),
    (name = "ALLOWED_HEADERS", fromEnvironment = "ALLOWED_HEADERS"),
    (name = "MAX_BATCH_EVENTS", fromEnvironment = "MAX_BATCH_EVENTS"),
    (name = "MAX_BATCH_BYTES", fromEnvironment = "MAX_BATCH_BYTES"),
    (name = "MAX_EVENT_BYTES", fromEnvironment = "MAX_EVENT_BYTES"),
    (name = "BODY_TIMEOUT_MS", fromEnvironment = "BODY_TIMEOUT_MS"),
    (name = "MAX_NAME_BYTES", fromEnvironment = "MAX_NAME_BYTES"),
    (name = "MAX_IN_FLIGHT", fromEnvironment = "MAX_IN_FLIGHT"),
    (name = "MAX_IN_FLIGHT_BYTES", fromEnvironment = "MAX_IN_FLIGHT_BYTES"),
    (name = "SEGMENT_BYTES", fromEnvironment = "SEGMENT_BYTES"),
    (name = "SEGMENT_EVENTS", fromEnvironment = "SEGMENT_EVENTS"),
    (name = "LOG_REQUESTS", fromEnvironment = "LOG_REQUESTS"),
    (name = "INSPECTOR", fromEnvironment = "INSPECTOR"),
    (name = "JWT_SECRET", fromEnvironment = "JWT_SECRET"),
    (name = "JWT_JWKS", fromEnvironment = "JWT_JWKS"),
    (name = "JWT_JWKS_URL", fromEnvironment = "JWT_JWKS_URL"),
    (name = "JWT_HEADER", fromEnvironment = "JWT_HEADER"),
    (name = "JWT_ISSUER", fromEnvironment = "JWT_ISSUER"),
    (name = "JWT_AUDIENCE", fromEnvironment = "JWT_AUDIENCE"),
    (name = "JWT_TENANT_CLAIM", fromEnvironment = "JWT_TENANT_CLAIM"),
    (name = "JWT_STORES_CLAIM", fromEnvironment = "JWT_STORES_CLAIM"),
    (name = "JWT_SCOPE_CLAIM", fromEnvironment = "JWT_SCOPE_CLAIM"),
    (name = "JWT_TENANT", fromEnvironment = "JWT_TENANT"),
    (name = "JWT_STORES", fromEnvironment = "JWT_STORES"),
    (name = "JWT_SCOPE", fromEnvironment = "JWT_SCOPE"),
  ],
  durableObjectNamespaces = [ (className = "Sequencer", uniqueKey = "Sequencer", enableSql = true) ],
  durableObjectStorage = (localDisk = "objects"),
  cacheApiOutbound = "edge-cache",
);

const edgeCache :Workerd.Worker = (
  modules = [ (name = "edge-cache.js", esModule = embed "edge-cache.js") ],
  compatibilityDate = "2026-10-01",
);

const assets :Workerd.Worker = (
  modules = [ (name = "assets.js", esModule = embed "assets.js") ],
  compatibilityDate = "2026-10-01",
  bindings = [
    (name = "index.html", text = embed "index.html"),
    (name = "inspector.css", text = embed "inspector.css"),
    (name = "inspector.js", text = embed "inspector.js"),
  ],
);
