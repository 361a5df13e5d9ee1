/** Starts Trino as its own launcher does. */
class TrinoServer {
    public static void main(String[] version) {
        new io.trino.server.Server().start(version[0]);
    }
}
