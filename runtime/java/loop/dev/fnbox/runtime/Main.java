package dev.fnbox.runtime;

import java.io.File;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Starts the runtime loop. The loop and its JSON library live in a class loader of their own, so
 * that a function may bring any version of that library; the function's classes see only Lambda's
 * interfaces and the JDK.
 */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) throws ReflectiveOperationException {
        List<URL> ours = jars("/var/runtime/lib");
        List<URL> theirs = new ArrayList<>();
        theirs.add(url(new File("/var/task/")));
        theirs.addAll(jars("/var/task/lib"));
        theirs.addAll(jars("/opt/java/lib"));
        ClassLoader system = Main.class.getClassLoader();
        ClassLoader function = new URLClassLoader(theirs.toArray(new URL[0]), system);
        ClassLoader loop = new URLClassLoader(ours.toArray(new URL[0]), system);
        Thread.currentThread().setContextClassLoader(function);
        loop.loadClass("dev.fnbox.runtime.loop.Loop")
                .getMethod("run", ClassLoader.class)
                .invoke(null, function);
    }

    /** By name, so that the order is the same everywhere. */
    private static List<URL> jars(String folder) {
        File[] files = new File(folder).listFiles((directory, name) -> name.endsWith(".jar"));
        List<URL> found = new ArrayList<>();
        if (files != null) {
            Arrays.sort(files);
            for (File file : files) {
                found.add(url(file));
            }
        }
        return found;
    }

    private static URL url(File file) {
        try {
            return file.toURI().toURL();
        } catch (MalformedURLException impossible) {
            throw new IllegalStateException(impossible);
        }
    }
}
