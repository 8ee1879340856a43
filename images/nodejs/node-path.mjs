// `import` finds what NODE_PATH names, layers and the SDK, after what lies beside the function:
// Lambda's runtimes do that, and Node.js by itself only for `require`.
import * as modules from "node:module";
import { basename, delimiter, dirname } from "node:path";
import { pathToFileURL } from "node:url";

const places = (process.env.NODE_PATH ?? "")
  .split(delimiter)
  .filter((folder) => basename(folder) === "node_modules")
  .map((folder) => pathToFileURL(`${dirname(folder)}/`).href);

// Node.js 20 has no such hooks.
modules.registerHooks?.({
  resolve(specifier, context, next) {
    try {
      return next(specifier, context);
    } catch (failure) {
      const bare = !/^[./#]|^[a-z]+:/.test(specifier);
      if (!bare || failure.code !== "ERR_MODULE_NOT_FOUND") throw failure;
      for (const parentURL of places) {
        try {
          return next(specifier, { ...context, parentURL });
        } catch (error) {
          if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
        }
      }
      throw failure;
    }
  },
});
