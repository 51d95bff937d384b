// Returns what comes through TLS, line by line or not; says on standard output where it listens and whom it meets.
const options = JSON.parse(process.argv[2]);
const fs = require("fs");
const read = (path) => (path ? fs.readFileSync(path) : undefined);
const say = (message) => console.log(JSON.stringify(message));
const staple = read(options.staple);
const server = require("tls").createServer({
  cert: read(options.certfile), key: read(options.keyfile), ca: read(options.clientCA),
  requestCert: options.clientAuth !== "off", rejectUnauthorized: options.clientAuth === "required",
  ALPNProtocols: options.alpn, minVersion: "TLSv1.3", allowHalfOpen: true,
  ...(options.group && { ecdhCurve: options.group }),
});
server.on("secureConnection", (socket) => {
  say({
    met: socket.getPeerCertificate().subject?.CN ?? null, verified: socket.authorized, alpn: socket.alpnProtocol,
    exported: socket.exportKeyingMaterial(77, "EXPORTER-aiotls", Buffer.from("context")).toString("hex"),
  });
  socket.on("error", (error) => say({ error: error.message }));
  socket.pipe(socket);
});
server.on("OCSPRequest", (certificate, issuer, callback) => callback(null, staple));
server.on("tlsClientError", (error) => say({ error: error.message }));
server.listen(0, "127.0.0.1", () => say({ port: server.address().port }));
