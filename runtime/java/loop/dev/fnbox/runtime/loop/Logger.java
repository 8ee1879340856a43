package dev.fnbox.runtime.loop;

import com.amazonaws.services.lambda.runtime.LambdaLogger;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.lang.reflect.Constructor;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;

/**
 * Writes log records: as frames (type, length, microseconds) to the platform's descriptor, where
 * there is one, so that a record of several lines stays one event; else to standard output.
 */
final class Logger implements LambdaLogger {
    private static final int TEXT = 0xA55A0003;
    private static final int ERROR = 0x14;
    private static final int HEADER_BYTES = 16;

    private final OutputStream records;

    Logger(String descriptor) throws ReflectiveOperationException {
        records = descriptor == null ? null : open(Integer.parseInt(descriptor));
    }

    /** Nothing public makes a stream of a descriptor, and its file cannot be opened anew. */
    private static OutputStream open(int descriptor) throws ReflectiveOperationException {
        Constructor<FileDescriptor> constructor =
                FileDescriptor.class.getDeclaredConstructor(int.class);
        constructor.setAccessible(true); // the bootstrap opens java.io to us
        return new FileOutputStream(constructor.newInstance(descriptor));
    }

    @Override
    public void log(String message) {
        log(message.getBytes(StandardCharsets.UTF_8));
    }

    @Override
    public void log(byte[] message) {
        write(message, 0);
    }

    void error(String message) {
        write(message.getBytes(StandardCharsets.UTF_8), ERROR);
    }

    private synchronized void write(byte[] message, int level) {
        System.out.flush();
        if (records == null) {
            System.out.write(message, 0, message.length);
            System.out.flush();
            return;
        }
        ByteBuffer frame = ByteBuffer.allocate(HEADER_BYTES + message.length);
        frame.putInt(TEXT | level).putInt(message.length);
        frame.putLong(System.currentTimeMillis() * 1000).put(message);
        try {
            records.write(frame.array());
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
