package dev.fnbox.runtime.loop;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import com.amazonaws.services.lambda.runtime.RequestStreamHandler;
import com.fasterxml.jackson.databind.JavaType;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.Arrays;
import java.util.Comparator;

/**
 * Finds the handler that a name means: `package.Class::method`, or `package.Class` when the class
 * implements one of Lambda's interfaces. A method may take (input), (input, Context), (Context),
 * nothing, or (InputStream, OutputStream[, Context]).
 */
final class Handlers {
    private Handlers() {}

    static Handler load(String name, ClassLoader loader) throws ReflectiveOperationException {
        int separator = name.indexOf("::");
        String className = separator < 0 ? name : name.substring(0, separator);
        Class<?> type;
        try {
            type = Class.forName(className, true, loader);
        } catch (ClassNotFoundException error) {
            throw new ClassNotFoundException("Class not found: " + className);
        }
        if (separator < 0 && !RequestHandler.class.isAssignableFrom(type)
                && !RequestStreamHandler.class.isAssignableFrom(type)) {
            throw new NoSuchMethodException(
                    "Class " + className + " does not implement an appropriate handler interface");
        }
        String methodName = separator < 0 ? "handleRequest" : name.substring(separator + 2);
        Method method = method(type, methodName);
        Object target =
                Modifier.isStatic(method.getModifiers())
                        ? null
                        : type.getConstructor().newInstance();
        return bind(type, target, method);
    }

    /** Of several methods of one name the one with the most parameters; one with a Context first. */
    private static Method method(Class<?> type, String name) throws NoSuchMethodException {
        return Arrays.stream(type.getMethods())
                .filter(method -> method.getName().equals(name) && !method.isBridge())
                .max(
                        Comparator.<Method>comparingInt(Method::getParameterCount)
                                .thenComparing(Handlers::takesContext))
                .orElseThrow(
                        () ->
                                new NoSuchMethodException(
                                        "No public method named " + name
                                                + " with appropriate method signature found on "
                                                + "class " + type.getName()));
    }

    private static boolean takesContext(Method method) {
        Class<?>[] parameters = method.getParameterTypes();
        return parameters.length > 0 && parameters[parameters.length - 1] == Context.class;
    }

    private static Handler bind(Class<?> type, Object target, Method method)
            throws NoSuchMethodException {
        Class<?>[] parameters = method.getParameterTypes();
        boolean context = takesContext(method);
        int inputs = parameters.length - (context ? 1 : 0);
        if (inputs == 2 && parameters[0] == InputStream.class
                && parameters[1] == OutputStream.class) {
            return (event, result, told) ->
                    method.invoke(
                            target,
                            context
                                    ? new Object[] {event, result, told}
                                    : new Object[] {event, result});
        }
        if (inputs > 1) {
            throw new NoSuchMethodException(
                    "Method " + method.getName() + " of " + type.getName()
                            + " takes more than an event and a Context");
        }
        JavaType input = inputs == 0 ? null : inputType(type, method);
        return (event, result, told) -> {
            Object[] arguments = new Object[parameters.length];
            if (input != null) {
                arguments[0] = Json.MAPPER.readValue(event, input);
            }
            if (context) {
                arguments[arguments.length - 1] = told;
            }
            write(method.invoke(target, arguments), result);
        };
    }

    /** With type parameters resolved, as far as the class says what they are. */
    private static JavaType inputType(Class<?> type, Method method) {
        var types = Json.MAPPER.getTypeFactory();
        JavaType owner = types.constructType(type);
        if (RequestHandler.class.isAssignableFrom(type)
                && method.getName().equals("handleRequest")) {
            return owner.findTypeParameters(RequestHandler.class)[0];
        }
        return types.resolveMemberType(method.getGenericParameterTypes()[0], owner.getBindings());
    }

    private static void write(Object value, OutputStream result) throws IOException {
        result.write(Json.MAPPER.writeValueAsBytes(value));
    }
}
