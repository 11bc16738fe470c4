import java.io.OutputStream;
import java.util.zip.GZIPOutputStream;

/** Writes its input as gzip, at the level named. */
class Compress {
    public static void main(String[] arguments) throws Exception {
        int level = Integer.parseInt(arguments[0]);
        try (OutputStream out = new GZIPOutputStream(System.out) {{ def.setLevel(level); }}) {
            System.in.transferTo(out);
        }
    }
}
