package dev.fnbox.runtime.loop;

import com.amazonaws.services.lambda.runtime.Context;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;

/** A function's handler, whatever its signature: an event's bytes in, a result's bytes out. */
interface Handler {
    void handle(InputStream event, OutputStream result, Context context)
            throws IOException, ReflectiveOperationException;
}
