package com.amazonaws.services.lambda.runtime;

/** A function of objects: the event is read from JSON, the result is written as JSON. */
public interface RequestHandler<I, O> {
    O handleRequest(I input, Context context);
}
